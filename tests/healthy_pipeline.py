"""A small pipeline with one of each thing that a server has rules about, and nothing wrong with it."""

from kfp import dsl, kubernetes
from kfp.dsl.structures import ResourceSpec


@dsl.component(base_image="image:1", install_kfp_package=False)
def listing() -> list:
    return []


@dsl.component(base_image="image:1", install_kfp_package=False)
def make(name: str, output: dsl.Output[dsl.Artifact], size: int = 1, note: str = "") -> str:
    return name


@dsl.component(base_image="image:1", install_kfp_package=False)
def take(artifact: dsl.Input[dsl.Artifact], word: str = ""):
    pass


@dsl.component(base_image="image:1", install_kfp_package=False)
def gather(artifacts: dsl.Input[list[dsl.Artifact]], words: list):
    pass


@dsl.component(base_image="image:1", install_kfp_package=False)
def conclude(status: dsl.PipelineTaskFinalStatus):
    pass


@dsl.container_component
def speak(word: str, note: str = ""):
    return dsl.ContainerSpec(image="image:1", command=["echo"], args=[word, dsl.IfPresentPlaceholder("note", [note])])


@dsl.pipeline
def inner(artifact: dsl.Input[dsl.Artifact], word: str, extra: str = "none"):
    take(artifact=artifact, word=word)
    take(artifact=artifact, word=extra)


@dsl.pipeline(name="healthy")
def healthy(word: str = "w", flag: bool = True):
    with dsl.ExitHandler(conclude()):
        first = make(name=word)
        first.set_retry(2, backoff_duration="60s", backoff_factor=2, backoff_max_duration="3600s")
        first.container_spec.resources = ResourceSpec(cpu_request="1", memory_limit="2Gi")
        kubernetes.use_secret_as_env(first, "secret", {"KEY": "KEY"}, optional=True)
        kubernetes.empty_dir_mount(first, "shm", "/dev/shm", medium="Memory", size_limit="1Gi")
        kubernetes.set_security_context(first, run_as_user=1000, run_as_non_root=True)
        inner(artifact=first.outputs["output"], word=word)
        with dsl.ParallelFor(["a", "b"]) as letter:
            each = make(name=letter)
            with dsl.If(flag == True):  # noqa: E712
                take(artifact=each.outputs["output"])
        gather(artifacts=dsl.Collected(each.outputs["output"]), words=dsl.Collected(each.outputs["Output"]))
        with dsl.ParallelFor(listing().output) as listed:
            take(artifact=first.outputs["output"], word=listed)
        with dsl.If(flag == True):  # noqa: E712
            left = make(name="left")
        with dsl.Else():
            right = make(name="right")
        take(artifact=dsl.OneOf(left.outputs["output"], right.outputs["output"]))
        speak(word=word)
        dsl.importer(artifact_uri="s3://bucket/key", artifact_class=dsl.Artifact)
