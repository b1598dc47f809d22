import ctypes

import pytest

FORWARD = """
import resource, torch, torchvision
{setting}
network = torchvision.models.resnet18().eval()
image = torch.rand(8, 3, 224, 224)
with torch.inference_mode():
    network(image), network(image)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(image)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_a_forward_pass_fetches_no_pages_anew(process):
    keep = "from lit_vision.memory import keep_freed_memory; keep_freed_memory()"
    kept, given_back = (int(process("-c", FORWARD.format(setting=setting)).out) for setting in (keep, ""))
    assert kept < given_back / 4, (kept, given_back)
