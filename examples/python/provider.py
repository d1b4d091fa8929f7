# SPDX-License-Identifier: Apache-2.0
"""Registers a GPU, watches it, reports on it and reads errors, with stubs made from the .proto.

docs/python.md says how to make the stubs and run this.
"""

import json
import os
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from nvidia.nvsentinel.v1alpha1 import gpu_pb2 as api
from nvidia.nvsentinel.v1alpha1 import gpu_pb2_grpc

TARGET = os.environ.get("NVIDIA_DEVICE_API_PATH", "unix:///var/run/nvidia-device-api/device-api.sock")


def explain(error):
    """What a program reads from an error: the code, the reason, and which field is wrong."""
    reason, fields = None, []
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(request):
            fields = [violation.field for violation in request.field_violations]
    return f"{error.code().name} {reason} {fields}: {error.details()}"


def list_all(gpus):
    """All GPUs, and the version that the list is of. A page always fits the 4 MiB that gRPC takes by default."""
    items, page = [], api.ListOptions(limit=500)
    while True:
        listed = gpus.ListGpus(api.ListGpusRequest(opts=page), timeout=10).gpu_list
        items.extend(listed.items)
        # `continue` is a keyword of Python.
        token = getattr(listed.metadata, "continue")
        if not token:
            return items, listed.metadata.resource_version
        page = api.ListOptions(limit=500, **{"continue": token})


def main(name):
    with grpc.insecure_channel(TARGET) as channel:
        gpus = gpu_pb2_grpc.GpuServiceStub(channel)

        # The device and its first health in one call.
        ready = api.Condition(type="ExampleHealthy", status="True", reason="SelfTestPassed")
        gpu = api.Gpu(
            metadata=api.ObjectMeta(name=name),
            spec=api.GpuSpec(uuid="GPU-" + name),
            status=api.GpuStatus(conditions=[ready]),
        )
        created = gpus.CreateGpu(api.CreateGpuRequest(gpu=gpu))
        print("created", created.metadata.name)

        items, version = list_all(gpus)
        print("listed", len(items))

        # From the list on, nothing is missed.
        start = api.ListOptions(resource_version=version)
        events = gpus.WatchGpus(api.WatchGpusRequest(opts=start))

        # Only our own condition: those of other providers stay as they are.
        patch = {"status": {"conditions": [{"type": "ExampleHealthy", "status": "False", "reason": "Xid79"}]}}
        gpus.PatchGpu(
            api.PatchGpuRequest(
                name=name, patch_type="strategic", subresources=["status"], data=json.dumps(patch).encode()
            )
        )
        event = next(events)
        print("watched", event.type, event.object.status.conditions[0].status)
        events.cancel()

        # What came too late, what is not valid, and what is there already.
        created.status.conditions[0].status = "Unknown"
        invalid = api.Gpu(metadata=api.ObjectMeta(name="Not A Name"))
        for call, request in [
            (gpus.UpdateGpuStatus, api.UpdateGpuStatusRequest(gpu=created)),
            (gpus.CreateGpu, api.CreateGpuRequest(gpu=invalid)),
            (gpus.CreateGpu, api.CreateGpuRequest(gpu=gpu)),
        ]:
            try:
                call(request)
            except grpc.RpcError as error:
                print("refused", explain(error))

        gpus.DeleteGpu(api.DeleteGpuRequest(name=name))
        print("deleted", name)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "gpu-python")
