"""CIFAR-10, photo sets, preprocessing, statistics, near-duplicates."""
