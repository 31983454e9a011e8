"""What is done with a network: one module per verb. `python -m pipelines` is the command `resnet-tf`."""
