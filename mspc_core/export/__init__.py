"""Hand over what a scan and its review found: tables, lists, or a clean copy of the data with checksums.

    config.py     what an export does, and the formats there are
    plan.py       which samples are exported, counted by class, with warnings
    originals.py  the bytes as they lie in the source, each checked against its sample id
    names.py      file names that are safe on any disk and that `import` reads back as the same set
    target.py     where it goes: refused if it exists or lies in the source; whole or absent
    tables.py     csv, parquet, list        indices.py  positions for torch.utils.data.Subset
    images.py     folder, zip, fiftyone     hf.py       Parquet in the Hugging Face style
    writing.py    one pass over the images        work.py     `export`: all of it together

The source is only ever read.
"""
