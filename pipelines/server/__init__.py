"""What a Kubeflow Pipelines 2.17.0 server and Argo Workflows 4.0.5 do with a compiled package, without either of them.

Rules and sizes are read from their source; each rule names the file and the function it comes from.
"""
