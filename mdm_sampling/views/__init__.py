"""How decodings are shown: figures, notebooks, a page, the terminal."""
