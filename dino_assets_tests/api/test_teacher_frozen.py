"""The frozen teacher: a training of the module around it changes neither weights nor precision."""

import copy
import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dino_assets import DinoV3Teacher
from dino_assets.errors import CheckpointNotFoundError, InvalidCheckpointError
from dino_assets_tests.worlds.networks import Sample, write_sample
from dino_assets_tests.worlds.teachers import StudentTask, draw_pictures, open_teacher

STUDENT = {"student.weight", "student.bias"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_sample(tmp_path_factory.mktemp("teacher") / "checkpoint", "dinov3_vit")


@pytest.fixture
def task(sample: Sample) -> StudentTask:
    torch.manual_seed(0)
    return StudentTask(open_teacher(sample, side=80))


@pytest.fixture
def images() -> Tensor:
    return draw_pictures(3, 80, 96) / 255


@pytest.fixture
def unchanged(task: StudentTask, images: Tensor) -> Callable[[DinoV3Teacher], bool]:
    """Make a check whether a teacher equals the task's original one, to the bit."""
    weights_hash, wanted = task.teacher.hash_weights(), task.teacher(images)

    def compare(teacher: DinoV3Teacher) -> bool:
        features = teacher(images)
        return (
            teacher.hash_weights() == weights_hash
            and torch.equal(features.cls, wanted.cls)
            and torch.equal(features.map, wanted.map)
        )

    return compare


def test_hash_weights__detects_one_changed_number(sample: Sample):
    teacher = open_teacher(sample, side=80)
    weights_hash = teacher.hash_weights()
    assert weights_hash == open_teacher(sample, side=80).hash_weights()
    assert weights_hash != open_teacher(sample, side=64).hash_weights()  # other positions
    vit = teacher._frozen._copies[teacher.device]
    with torch.no_grad():
        vit.network.norm.bias[0] += 1e-6
    assert teacher.hash_weights() != weights_hash


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_training__does_not_change_the_teacher(task: StudentTask, images: Tensor, unchanged, kind):
    optimizer = kind(task.parameters(), lr=0.05, weight_decay=0.1)
    first = task(images).item()
    for _ in range(20):
        task.train()
        task.requires_grad_(True)
        optimizer.zero_grad()
        task(images).backward()
        optimizer.step()
    assert task(images).item() < first
    assert task.training
    assert not task.teacher.training
    assert unchanged(task.teacher)


def test_features__have_no_gradient_and_work_in_a_loss(task: StudentTask, images: Tensor):
    images.requires_grad_(True)
    features = task.teacher(images)
    assert not features.cls.requires_grad
    assert not features.map.requires_grad
    factor = torch.ones(48, requires_grad=True)
    (factor * features.cls).sum().backward()  # the backward pass uses the features
    assert torch.equal(factor.grad, features.cls.sum(dim=0))
    task(images).backward()
    assert task.student.weight.grad is not None
    assert task.student.weight.grad.abs().sum() > 0
    with torch.inference_mode():  # as validation loops do
        task(images.detach())


def test_parameters__are_only_the_students(task: StudentTask):
    assert {name for name, _ in task.named_parameters()} == STUDENT
    assert not list(task.buffers())
    assert list(task.children()) == [task.teacher, task.student]
    task.apply(lambda module: [nn.init.zeros_(each) for each in module.parameters()])
    assert task.teacher(torch.rand(1, 3, 80, 80)).cls.norm() > 0


def test_state_dict__is_only_the_students(task: StudentTask, sample: Sample, unchanged):
    """A student's state loads strictly, also with a teacher of another size."""
    state = task.state_dict()
    assert set(state) == STUDENT
    other_task = StudentTask(open_teacher(sample, side=64))
    other_task.load_state_dict(state, strict=True)
    assert torch.equal(other_task.student.weight, task.student.weight)
    task.load_state_dict(other_task.state_dict(), strict=True)
    assert unchanged(task.teacher)


@pytest.mark.parametrize("change", ["half", "bfloat16", "double", "float", "share_memory", "cpu"])
def test_module__keeps_precision(task: StudentTask, unchanged, change: str):
    getattr(task, change)()
    assert unchanged(task.teacher)
    getattr(task.teacher, change)()
    assert unchanged(task.teacher)


def test_module__meta_keeps_the_weights(task: StudentTask, unchanged):
    """``to("meta")`` is used to count memory; ``to_empty`` afterwards would give random weights."""
    task.to("meta")
    assert task.student.weight.is_meta
    task.to_empty(device="cpu")
    assert unchanged(task.teacher)


def test_autocast__keeps_precision(task: StudentTask, unchanged):
    with torch.autocast("cpu", torch.bfloat16):
        assert unchanged(task.teacher)


@pytest.mark.parametrize("around", ["meta", "float64"])
def test_teacher__built_inside_other_defaults(sample: Sample, images, unchanged, around: str):
    if around == "meta":
        with torch.device("meta"):
            teacher = open_teacher(sample, side=80)
    else:
        torch.set_default_dtype(torch.float64)
        try:
            teacher = open_teacher(sample, side=80)
        finally:
            torch.set_default_dtype(torch.float32)
    assert unchanged(teacher)


def test_deepcopy__shares_the_weights(task: StudentTask, unchanged):
    """A moving average of the student, made by a deep copy, needs no second teacher."""
    twin = copy.deepcopy(task)
    assert twin.teacher is not task.teacher
    assert twin.teacher._frozen is task.teacher._frozen
    assert twin.student.weight is not task.student.weight
    assert unchanged(twin.teacher)
    average = torch.optim.swa_utils.AveragedModel(task)
    average.update_parameters(task)
    assert unchanged(average.module.teacher)


def test_moved_to__shares_no_tensors(task: StudentTask, unchanged):
    """A copy on another device leaves the original unchanged."""
    frozen = task.teacher._frozen
    moved_copy = frozen.moved_to(torch.device("cpu"))
    copied_network, original_network = (each._copies[each.device] for each in (moved_copy, frozen))
    pairs = zip(copied_network.parameters(), original_network.parameters(), strict=True)
    assert all(
        not copied_tensor.requires_grad and copied_tensor is not original_tensor
        for copied_tensor, original_tensor in pairs
    )
    assert moved_copy.hash_tensors() == frozen.hash_tensors()
    meta_copy = frozen._copy_for(torch.device("meta"))
    assert {each.device.type for each in (*meta_copy.parameters(), *meta_copy.buffers())} == {
        "meta"
    }
    assert unchanged(task.teacher)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile__students_step(task: StudentTask, images: Tensor, unchanged, backend: str):
    compiled_task = torch.compile(task, fullgraph=True, backend=backend)
    optimizer = torch.optim.AdamW(task.parameters(), lr=0.05, weight_decay=0.1)
    wanted = task(images).item()
    assert compiled_task(images).item() == pytest.approx(wanted, abs=1e-5)
    for _ in range(5):
        optimizer.zero_grad()
        compiled_task(images).backward()
        optimizer.step()
    assert task(images).item() < wanted
    assert unchanged(task.teacher)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own, of torch.jit
def test_compile__with_inductor(sample: Sample, images: Tensor):
    """In fp32 only: it compiles C++ for a minute, and the limits of bf16 hide what it gets wrong."""
    task = StudentTask(open_teacher(sample, side=80, dtype="fp32"))
    weights_hash = task.teacher.hash_weights()
    compiled_task = torch.compile(task, fullgraph=True)
    wanted = task(images)
    loss = compiled_task(images)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-5)
    assert task.teacher.hash_weights() == weights_hash


def test_data_parallel__does_not_change_the_teacher(task: StudentTask, images, unchanged):
    parallel = nn.DataParallel(task)
    parallel.train()
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1, weight_decay=0.1)
    parallel(images).mean().backward()
    optimizer.step()
    assert unchanged(task.teacher)
    replica = task.teacher._replicate_for_data_parallel()  # the object in each GPU's thread
    assert unchanged(replica)


@pytest.mark.gpu
def test_data_parallel__on_two_gpus(sample: Sample, images: Tensor):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two cards")
    task = StudentTask(open_teacher(sample, side=80)).to("cuda:0")
    weights_hash = task.teacher.hash_weights()
    features = nn.DataParallel(task.teacher)(images.to("cuda:0"))
    torch.testing.assert_close(features.map, task.teacher(images).map, rtol=0, atol=1e-3)
    assert task.teacher.hash_weights() == weights_hash


@pytest.mark.gpu
def test_module__follows_to_a_gpu(task: StudentTask, images: Tensor):
    if not torch.cuda.is_available():
        pytest.skip("needs a card")
    weights_hash, wanted = task.teacher.hash_weights(), task.teacher(images)
    task.half().to("cuda")
    features = task.teacher(images)  # which are on the CPU
    assert task.teacher.device == features.map.device == torch.device("cuda:0")
    torch.testing.assert_close(features.map.cpu(), wanted.map, rtol=0, atol=1e-3)
    assert task.teacher.hash_weights() == weights_hash


def test_pickle__holds_no_weights(task: StudentTask, unchanged):
    data = pickle.dumps(task.teacher)
    assert len(data) < 20_000
    assert unchanged(pickle.loads(data))  # noqa: S301
    sink = io.BytesIO()
    torch.save(task, sink)  # a whole module, as some detectors are saved
    sink.seek(0)
    loaded_task = torch.load(sink, weights_only=False)
    assert unchanged(loaded_task.teacher)
    assert torch.equal(loaded_task.student.weight, task.student.weight)


def test_pickle__refuses_other_weights(tmp_path: Path):
    folder = tmp_path / "checkpoint"
    data = pickle.dumps(open_teacher(write_sample(folder, "dinov3_vit")))
    shutil.rmtree(folder)
    with pytest.raises(CheckpointNotFoundError):
        pickle.loads(data)  # noqa: S301
    write_sample(folder, "dinov3_vit", seed=1)
    with pytest.raises(InvalidCheckpointError) as caught:
        pickle.loads(data)  # noqa: S301
    assert caught.value.reason == "altered"


def test_pickle__missing_gpu(task: StudentTask, unchanged):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a card")
    frozen = task.teacher._frozen
    rebuild, (spec, _) = frozen.__reduce__()
    assert rebuild(spec, "cuda:0").device == torch.device("cpu")  # type: ignore[operator]
