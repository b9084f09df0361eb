# mmevent from R. tests/test_r.py runs this file; docs/r.md explains it.

# 1. The Python of mmevent
library(reticulate)
use_virtualenv(Sys.getenv("MMEVENT_ENV", "~/mmevent"), required = TRUE)
mmevent <- import("mmevent", convert = FALSE)

# 2. The posts: made up here, a table of yours else
read_posts <- function(file) {
  read.csv(file, encoding = "UTF-8", colClasses = c(id = "character"),
           na.strings = "")
}
folder <- tempfile("posts")
synthetic <- import("mmevent.synthetic", convert = FALSE)
made <- synthetic$make_posts(150, folder = folder, random_state = 1)
write_table <- import("mmevent.posts")$write_table
write_table(made[0]$assign(event = made[1]), file.path(folder, "posts.csv"))
posts <- read_posts(file.path(folder, "posts.csv"))
uncoded <- posts[121:150, names(posts) != "event"]
posts <- posts[1:120, ]

# 3. What is missing in R, and stays so in Python
for_python <- function(posts) {
  for (name in names(posts)) {
    column <- posts[[name]]
    if (inherits(column, c("Date", "POSIXct"))) {
      column <- format(column, "%Y-%m-%dT%H:%M:%SZ", tz = "UTC")
    }
    if (anyNA(column) && !is.double(column)) column <- factor(column)
    posts[[name]] <- column
  }
  r_to_py(posts)
}
stopifnot(!anyNA(posts$event))

# 4. Fit
branches <- synthetic$demo_branches()
detector <- mmevent$EventDetector(
  text = branches[0], image = branches[1], # leave both out for pretrained models
  image_root = folder, cv = 3, inner_cv = 2, n_trials = 20, random_state = 1
)
coded <- for_python(posts[names(posts) != "event"])
invisible(detector$fit(coded, posts$event, groups = posts$author))
cat(py_str(detector$estimate_), "\n")

# 5. The audit as a data frame
as_frame <- function(table) {
  file <- tempfile(fileext = ".csv")
  on.exit(unlink(file))
  write_table(table, file)
  read_posts(file)
}
audit <- as_frame(detector$audit(for_python(uncoded), batch_size = 50))
stopifnot(is.data.frame(audit), identical(audit$id, uncoded$id))
print(head(audit[c("id", "prediction", "margin", "rule")]))

# 6. Labels: a factor, words, TRUE and FALSE
short <- for_python(posts[c("id", "text", "author")])
quick <- function(labels, positive) {
  detector <- mmevent$EventDetector(
    text = branches[0], image = NULL, estimate = NULL, pos_label = positive,
    cv = 2, n_trials = 5L, random_state = 0L
  )
  detector$fit(short, labels)
}
words <- factor(ifelse(posts$event == 1, "protest", "other"))
invisible(quick(words, "protest"))
invisible(quick(posts$event == 1, TRUE))
for (labels in list(words, as.integer(posts$event))) {
  labels[1] <- NA
  refused <- tryCatch(quick(labels, NULL), error = conditionMessage)
  stopifnot(grepl("y has missing labels", refused))
}

# 7. Save, and the same by the command line
model <- file.path(folder, "model")
invisible(detector$save(model))
table <- file.path(folder, "uncoded.csv")
write.csv(uncoded, table, row.names = FALSE, na = "", fileEncoding = "UTF-8")
program <- file.path(Sys.getenv("MMEVENT_ENV", "~/mmevent"), "bin", "mmevent")
predictions <- file.path(folder, "predictions.csv")
status <- system2(program, c(
  "predict", shQuote(model), shQuote(table), "--image-root", shQuote(folder),
  "-o", shQuote(predictions)
), env = "LD_LIBRARY_PATH=")
stopifnot(status == 0)
by_command <- read_posts(predictions)
stopifnot(
  identical(by_command$id, audit$id),
  identical(by_command$prediction, audit$prediction)
)
unlink(folder, recursive = TRUE)
cat("done\n")
