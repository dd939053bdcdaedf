"""What all figures share: style, output, the list of sources, the manifest, published numbers."""
