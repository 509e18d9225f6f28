"""From folders of images to prepared images and frozen features; knows disk and cache alone."""
