"""What a Kubeflow Pipelines 2.17.0 server and Argo Workflows 4.0.5 do with a compiled package, computed without a
server.

Rules and sizes are taken from their source; each rule names the file and the function that it comes from.
"""
