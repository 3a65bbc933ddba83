"""Rendered traffic signs: the embedded demo data. Everything is drawn here; nothing is downloaded.

`render.render_signs` is the entry point; `shapes` draws the sign faces, `backdrop` the surroundings, `scene` takes the
photograph. Importing this package loads neither Pillow nor torch.
"""
