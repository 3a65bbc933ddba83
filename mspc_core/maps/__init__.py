"""What the model sees of each image of a run, and maps of it: features before the last layer, PCA, UMAP, neighbours.

<run>/map/
  config.json  status.json  log.txt   as of every job (`mspc_core.jobs`)
  features.npy    float16 [N, D], in the order of scores.parquet; the scan writes it, or this job
  features.json   what they were made of: `key` changes with the model and with the samples
  pca.npz  umap.npz   points of a map [N, 2], which of them were fitted, and the same key
"""
