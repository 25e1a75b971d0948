"""Servers that the data plane is measured beside: the same ONNX graph, each as its own documentation has one."""
