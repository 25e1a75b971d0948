"""The data plane's words: the Open Inference Protocol v2, a plain JSON form, and Arrow tables, to arrays and back.

Spec: kserve/open-inference-protocol, REST, with Triton's binary tensor, statistics and configuration extensions.
"""
