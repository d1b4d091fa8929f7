# SPDX-License-Identifier: Apache-2.0
"""Calls the Device API with nothing but what the server says about itself: no .proto, no stubs.

docs/python.md says how to run this.
"""

import os

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

TARGET = os.environ.get("NVIDIA_DEVICE_API_PATH", "unix:///var/run/nvidia-device-api/device-api.sock")
SERVICE = "nvidia.nvsentinel.v1alpha1.GpuService"


def call(channel, method, request):
    """Calls a method with a request as JSON, and returns the reply as JSON."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    unary = channel.unary_unary(
        path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    message = ParseDict(request, GetMessageClass(method.input_type)())
    return MessageToDict(unary(message, timeout=10))


def main():
    with grpc.insecure_channel(TARGET) as channel:
        server = ProtoReflectionDescriptorDatabase(channel)
        for service in sorted(server.get_services()):
            print("serves", service)

        gpus = DescriptorPool(server).FindServiceByName(SERVICE)
        for method in gpus.methods:
            print("has", method.name, "of", method.input_type.full_name)

        gpu = {"metadata": {"name": "gpu-reflected"}, "spec": {"uuid": "GPU-reflected"}}
        created = call(channel, gpus.methods_by_name["CreateGpu"], {"gpu": gpu})
        print("created", created["metadata"]["name"], "of generation", created["metadata"]["generation"])

        selected = {"opts": {"fieldSelector": "spec.uuid=GPU-reflected"}}
        listed = call(channel, gpus.methods_by_name["ListGpus"], selected)
        print("listed", [item["metadata"]["name"] for item in listed["gpuList"]["items"]])

        call(channel, gpus.methods_by_name["DeleteGpu"], {"name": "gpu-reflected"})
        print("deleted")


if __name__ == "__main__":
    main()
