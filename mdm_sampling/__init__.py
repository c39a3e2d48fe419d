"""Samplers for masked diffusion models, from parts that can be swapped.

As in::

    import mdm_sampling as mdm
    sampler = mdm.load("embedded")
    print(sampler.generate("1... ..3. .1.. ...4").texts[0])

Names are loaded on first use, so that importing the package is cheap.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
