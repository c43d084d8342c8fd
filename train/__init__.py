"""Finetuning: it reads data and writes a model or adapter, and logs the loss of each example through a hook."""
