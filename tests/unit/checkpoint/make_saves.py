"""Writes one save of each checkpoint format into the folder given, as the frameworks lay them out. With torch its own
torch.save writes the files; without it zips of the same form stand in. Prints "torch" or "no torch"."""

import argparse
import dataclasses
import io
import json
import pathlib
import pickle
import struct
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict

try:
    import torch
except Exception:  # no torch, or one that does not load here
    torch = None

ROOT = pathlib.Path(sys.argv[1])


def tensor(size):
    return torch.arange(size, dtype=torch.float32) if torch else bytes(range(size)) * 4


def torch_bytes(value, old=False):
    """What torch.save writes."""
    out = io.BytesIO()
    if torch:
        torch.save(value, out, _use_new_zipfile_serialization=not old)
    elif old:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value):
            pickle.dump(part, out, protocol=2)
    else:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(value, protocol=2))
            archive.writestr("archive/data/0", bytes(64))
            archive.writestr("archive/version", "3\n")
    return out.getvalue()


def put(name, content):
    path = ROOT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_json(name, value):
    put(name, json.dumps(value, indent=2, sort_keys=True))


def module_with(name, *classes):
    """Classes pickled under the names that torch gives them."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:length]), types.ModuleType(".".join(parts[:length])))
    module = sys.modules[name]
    for one in classes:
        one.__module__ = name
        one.__qualname__ = one.__name__
        setattr(module, one.__name__, one)


@dataclasses.dataclass(frozen=True)
class MetadataIndex:
    fqn: str
    offset: object = None
    index: object = None


@dataclasses.dataclass
class _StorageInfo:
    relative_path: str
    offset: int
    length: int


@dataclasses.dataclass
class StorageMeta:
    checkpoint_id: object = None
    save_id: object = None


@dataclasses.dataclass
class Metadata:
    state_dict_metadata: dict
    planner_data: object = None
    storage_data: object = None
    storage_meta: object = None


module_with("torch.distributed.checkpoint.metadata", MetadataIndex, StorageMeta, Metadata)
module_with("torch.distributed.checkpoint.filesystem", _StorageInfo)


def put_dcp(folder, ranks=2):
    storage = {}
    for rank in range(ranks):
        file, content = f"__{rank}_0.distcp", b""
        for item in range(2):
            data = torch_bytes(tensor(8 + rank + item))
            storage[MetadataIndex(f"layer.{item}.weight", (rank, 0), rank)] = _StorageInfo(file, len(content), len(data))
            content += data
        put(f"{folder}/{file}", content)
    metadata = Metadata({"layer": "as planned"}, None, storage, StorageMeta(pathlib.PosixPath("somewhere"), "an-id"))
    put(f"{folder}/.metadata", pickle.dumps(metadata))


def put_metadata_pickles(folder):
    """.metadata of many items in few files, by each protocol."""
    storage = {MetadataIndex(f"layers.{item}.weight", (item, 0), item): _StorageInfo(f"__{item % 3}_0.distcp", item * 1000, 1000)
               for item in range(30_000)}
    storage[MetadataIndex("last", (0, 0), 0)] = _StorageInfo("__7_0.distcp", 5 << 40, 3)
    metadata = Metadata({"offset": "length", "relative": [1.5, b"bytes", -1, None, 1 << 70]}, {"planned": (1, 2)}, storage, StorageMeta("id"))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        put(f"{folder}/{protocol}", pickle.dumps(metadata, protocol=protocol))


def safetensors(names):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name in names:
        header[name] = {"dtype": "F32", "shape": [4], "data_offsets": [len(data), len(data) + 16]}
        data += struct.pack("<4f", 1, 2, 3, 4)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def put_sharded(folder):
    shards = {"model-00001-of-00002.safetensors": ["a", "b"], "model-00002-of-00002.safetensors": ["c"]}
    for file, names in shards.items():
        put(f"{folder}/{file}", safetensors(names))
    weights = {name: file for file, names in shards.items() for name in names}
    put_json(f"{folder}/model.safetensors.index.json", {"metadata": {"total_size": 48}, "weight_map": weights})


class TrainingArguments:
    """With the state of accelerate, which is one for a process: each object's __dict__ is the same."""

    def __init__(self, ranks):
        self.learning_rate = 1
        self.distributed_state = PartialState()
        PartialState.shared.update(backend="nccl", num_processes=ranks, process_index=0)


class PartialState:
    shared = {}

    def __init__(self):
        self.__dict__ = self.shared


module_with("transformers.training_args", TrainingArguments)
module_with("accelerate.state", PartialState)


def put_trainer(folder, ranks):
    put_json(f"{folder}/config.json", {"model_type": "gpt2"})
    put(f"{folder}/training_args.bin", torch_bytes(TrainingArguments(ranks)))
    put_json(f"{folder}/trainer_state.json", {"global_step": 7, "log_history": [{"loss": 2.5, "step": 5}]})
    for rank in range(ranks):
        put(f"{folder}/rng_state{f'_{rank}' if ranks > 1 else ''}.pth", torch_bytes({"python": (3, (1, 2), None)}))


def put_deepspeed(folder, stage, ranks=2):
    state = {"module": OrderedDict(weight=tensor(8)), "optimizer": None if stage else {"step": 7}, "global_steps": 7,
             "dp_world_size": ranks, "mp_world_size": 1, "args": argparse.Namespace(lr=0.1)}
    for rank in range(ranks if stage == 3 else 1):
        name = f"zero_pp_rank_{rank}_mp_rank_00" if stage == 3 else "mp_rank_00"
        put(f"{folder}/{name}_model_states.pt", torch_bytes(state))
    for rank in range(ranks if stage else 0):
        put(f"{folder}/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt", torch_bytes({"optimizer_state_dict": {"step": 7}}))


def put_deepspeed_experts(folder, zero):
    """Two layers with two and three experts, of two expert-parallel ranks."""
    experts = [2, 3]
    put(f"{folder}/mp_rank_00_model_states.pt", torch_bytes({"module": OrderedDict(weight=tensor(8)), "global_steps": 7, "num_experts": experts,
                                                             "dp_world_size": 2, "mp_world_size": 1}))
    for layer, count in enumerate(experts):
        for expert in range(count):
            put(f"{folder}/layer_{layer}_expert_{expert}_mp_rank_00_model_states.pt", torch_bytes(OrderedDict(weight=tensor(4))))
    for rank in range(2):
        put(f"{folder}/expp_rank_{rank}_mp_rank_00_optim_states.pt", torch_bytes({"optimizer": None if zero else {"step": 7}}))
        if zero:
            put(f"{folder}/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt", torch_bytes({"optimizer_state_dict": {"step": 7}}))


def put_torch_dist(folder):
    put(f"{folder}/common.pt", torch_bytes({"iteration": 7, "args": argparse.Namespace(tensor_model_parallel_size=2)}))
    put_dcp(folder)
    put_json(f"{folder}/metadata.json", {"sharded_backend": "torch_dist", "sharded_backend_version": 1, "common_backend": "torch"})


def put_nemo_tar(name):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as tar:
        for member, content in (("./model_config.yaml", b"name: gpt\n"), ("./model_weights.ckpt", torch_bytes({"w": tensor(8)}))):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    put(name, out.getvalue())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def ocdbt_manifest():
    body = b"\0\0" + bytes(range(40))
    whole = struct.pack(">I", 0x0CDB3A2A) + struct.pack("<Q", 12 + len(body) + 4) + body
    return whole + struct.pack("<I", crc32c(whole))


HANDLERS = "orbax.checkpoint._src.handlers."


def put_orbax_step(folder, items, times):
    put_json(f"{folder}/_CHECKPOINT_METADATA", {"item_handlers": items, "metrics": {}, "custom_metadata": {}, **times})


def put_orbax(folder, processes=1):
    put_orbax_step(folder, {"state": HANDLERS + "standard_checkpoint_handler.StandardCheckpointHandler"},
                   {"init_timestamp_nsecs": 1, "commit_timestamp_nsecs": 2})
    put_json(f"{folder}/state/_METADATA", {"tree_metadata": {}, "use_ocdbt": True})
    for process in range(processes):
        put_json(f"{folder}/state/array_metadatas/process_{process}", {"array_metadatas": []})
    for database in ("state", *(f"state/ocdbt.process_{process}" for process in range(processes))):
        put(f"{folder}/{database}/manifest.ocdbt", ocdbt_manifest())
        put(f"{folder}/{database}/d/0123456789abcdef", bytes(range(200)))


def put_orbax_committed(folder):
    """As where a folder can't be renamed, of two items, and of arrays that are folders."""
    put_orbax_step(folder, {"params": HANDLERS + "pytree_checkpoint_handler.PyTreeCheckpointHandler",
                            "config": HANDLERS + "json_checkpoint_handler.JsonCheckpointHandler"},
                   {"init_timestamp_nsecs": 1, "commit_timestamp_nsecs": 2})
    put_json(f"{folder}/params/_METADATA", {"tree_metadata": {}, "use_ocdbt": False, "use_zarr3": True})
    for array in ("layer.kernel", "layer.bias"):
        put_json(f"{folder}/params/{array}/zarr.json", {"zarr_format": 3, "node_type": "array", "shape": [8]})
        put(f"{folder}/params/{array}/c/0", bytes(range(32)))
    put_json(f"{folder}/config/metadata", {"lr": 1})
    for part in ("params/", "config/", ""):
        put(f"{folder}/{part}commit_success.txt", f"Checkpoint commit was successful to {folder}/{part}")


def main():
    put("torch/step-7.pt", torch_bytes({"model": tensor(8), "step": 7}))
    put("old/step-7.pt", torch_bytes({"step": 7}, old=True))
    put("lightning/epoch=1-step=7.ckpt", torch_bytes({"epoch": 1, "global_step": 7, "state_dict": OrderedDict(w=tensor(4))}))
    put("lightning-last/last.ckpt", torch_bytes({"epoch": 1, "global_step": 7, "state_dict": OrderedDict(w=tensor(4))}))
    put_dcp("lightning-fsdp/epoch=1-step=7.ckpt")
    put("lightning-fsdp/epoch=1-step=7.ckpt/meta.pt", torch_bytes({"epoch": 1, "global_step": 7}))
    put_dcp("dcp/step-7")
    put_metadata_pickles("metadata")
    put("safetensors-file/step-7.safetensors", safetensors(["a", "b"]))
    put_sharded("safetensors/step-7")
    put_sharded("huggingface/checkpoint-7")
    put("huggingface/checkpoint-7/optimizer.pt", torch_bytes({"state": {0: 1}}))
    put("huggingface/checkpoint-7/scheduler.pt", torch_bytes({"last_epoch": 7}))
    put_trainer("huggingface/checkpoint-7", ranks=1)
    put_dcp("huggingface-fsdp/checkpoint-7/pytorch_model_fsdp_0")
    put_dcp("huggingface-fsdp/checkpoint-7/optimizer_0")
    put("huggingface-fsdp/checkpoint-7/scheduler.pt", torch_bytes({"last_epoch": 7}))
    put_trainer("huggingface-fsdp/checkpoint-7", ranks=3)
    put_deepspeed("huggingface-deepspeed/checkpoint-7/global_step7", stage=2)
    put("huggingface-deepspeed/checkpoint-7/latest", "global_step7")
    put_trainer("huggingface-deepspeed/checkpoint-7", ranks=1)
    for stage in (0, 2, 3):
        put_deepspeed(f"deepspeed-{stage}/global_step7", stage)
        put(f"deepspeed-{stage}/latest", "global_step7")
    for kind, zero in (("experts", False), ("experts-zero", True)):
        put_deepspeed_experts(f"deepspeed-{kind}/global_step7", zero)
        put(f"deepspeed-{kind}/latest", "global_step7")
    args = argparse.Namespace(tensor_model_parallel_size=2, pipeline_model_parallel_size=2, expert_model_parallel_size=1,
                              use_distributed_optimizer=True, no_save_optim=None)
    for rank in range(4):
        folder = f"megatron/iter_0000007/mp_rank_{rank % 2:02d}_{rank // 2:03d}"
        put(f"{folder}/model_optim_rng.pt", torch_bytes({"args": args, "iteration": 7, "model": OrderedDict(w=tensor(4))}))
        put(f"{folder}/distrib_optim.pt", torch_bytes({"buckets": tensor(4)}))
    put("megatron/latest_checkpointed_iteration.txt", "7")
    put_torch_dist("megatron-dist/iter_0000007")
    put("megatron-dist/latest_checkpointed_iteration.txt", "7")
    put_dcp("megatron-dcp/iter_0000007")
    put("megatron-dcp/latest_checkpointed_iteration.txt", "7")
    name = "gpt--val_loss=1.00-step=7-consumed_samples=70.0-last"
    put_torch_dist(f"nemo/{name}/weights")
    put_json(f"nemo/{name}/context/io.json", {"objects": {}})
    put(f"nemo/{name}/context/model.yaml", "_target_: gpt\n")
    put_nemo_tar("nemo-file/gpt-step=7.nemo")
    put_orbax("orbax/7")
    put_orbax("orbax-processes/7", processes=3)
    put_orbax_committed("orbax-committed/7")
    print("torch " + torch.__version__ if torch else "no torch")


main()
