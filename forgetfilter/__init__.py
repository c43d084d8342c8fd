"""ForgetFilter: finetune on noisy data, see what is forgotten, drop it, finetune again."""

__version__ = "0.1.0"
