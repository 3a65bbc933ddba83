"""Papers that the lesson rests on, as Markdown with links. Only sources that say what they are cited for."""

from __future__ import annotations

from collections.abc import Iterable

SOURCES: dict[str, str] = {
    "badnets": "Gu, Dolan-Gavitt, Garg: *BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply "
    "Chain*, 2017, [arXiv 1708.06733](https://arxiv.org/abs/1708.06733)",
    "blend": "Chen, Liu, Li, Lu, Song: *Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning*, "
    "2017, [arXiv 1712.05526](https://arxiv.org/abs/1712.05526)",
    "clean-label": "Turner, Tsipras, Madry: *Label-Consistent Backdoor Attacks*, 2019, "
    "[arXiv 1912.02771](https://arxiv.org/abs/1912.02771)",
    "wanet": "Nguyen, Tran: *WaNet: Imperceptible Warping-based Backdoor Attack*, ICLR 2021, "
    "[arXiv 2102.10369](https://arxiv.org/abs/2102.10369)",
    "abl": "Li, Lyu, Koren, Lyu, Li, Ma: *Anti-Backdoor Learning: Training Clean Models on Poisoned Data*, NeurIPS "
    "2021, [arXiv 2110.11571](https://arxiv.org/abs/2110.11571)",
    "scale-up": "Guo, Li, Chen, Guo, Sun, Liu: *SCALE-UP: An Efficient Black-box Input-level Backdoor Detection via "
    "Analyzing Scaled Prediction Consistency*, ICLR 2023, [arXiv 2302.03251](https://arxiv.org/abs/2302.03251)",
    "mspc": "Pal, Yao, Wang, Shen, Liu: *Backdoor Secrets Unveiled: Identifying Backdoor Data with Optimized Scaled "
    "Prediction Consistency*, ICLR 2024, [arXiv 2403.10717](https://arxiv.org/abs/2403.10717)",
    "scan": "Tang, Wang, Tang, Zhang: *Demon in the Variant: Statistical Analysis of DNNs for Robust Backdoor "
    "Contamination Detection*, USENIX Security 2021, [arXiv 1908.00686](https://arxiv.org/abs/1908.00686)",
    "cleanse": "Wang and others: *Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks*, "
    "IEEE Symposium on Security and Privacy 2019",
    "latent": "Qi, Xie, Li, Mahloujifar, Mittal: *Revisiting the Assumption of Latent Separability for Backdoor "
    "Defenses*, ICLR 2023",
    "flare": "*FLARE: Towards Universal Dataset Purification against Backdoor Attacks*, 2024, "
    "[arXiv 2411.19479](https://arxiv.org/abs/2411.19479) (SPC and MSPC measured by others)",
    "bench": "Wu and others: *BackdoorBench: A Comprehensive Benchmark of Backdoor Learning*, NeurIPS 2022 (Datasets "
    "and Benchmarks)",
    "survey": "Li, Jiang, Li, Xia: *Backdoor Learning: A Survey*, [arXiv 2007.08745](https://arxiv.org/abs/2007.08745)",
}
HERE = "here"  # stands for what this project came up with
_ALL = {**SOURCES, HERE: "this project, see docs/method.md"}


def cited(keys: Iterable[str]) -> str:
    """Sources as one line of Markdown."""
    return "Sources: " + "; ".join(_ALL[key] for key in keys) + "."
