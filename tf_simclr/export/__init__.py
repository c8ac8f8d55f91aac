"""Exports that load anywhere, without this package: SavedModel, TFLite, ONNX."""
