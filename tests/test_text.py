from __future__ import annotations


def test_smoke(tiny_text_model, tiny_image_model, tiny_timm_model, texts, pictures):
    from mmevent.image import ImageClassifier
    from mmevent.text import TextClassifier
    import numpy as np
    y=[0,1]*30
    m=TextClassifier(model=tiny_text_model).fit(texts,y)
    print(m.encoder_spec_, m.predict_proba(texts)[:5], m.score(texts,y))
    for f in (tiny_image_model, tiny_timm_model):
        i=ImageClassifier(model=f).fit(pictures,[0,1]*20)
        print(i.encoder_spec_, i.predict_proba(pictures[:3]), i.score(pictures,[0,1]*20))
    i.save_encoder("/tmp/tt_timm")
    m.save_encoder("/tmp/tt_text")
