"""The embedded networks (.onnx), each with a model card."""
