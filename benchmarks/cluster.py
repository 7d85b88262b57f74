"""The networked engine over loopback and mutual TLS: frames a second, where the time goes, latency; one JSON line.

Frames of 512 x 1028 with an EELS-shaped mean count go through ``udvd serve`` and `ClusterEngine` with the model `raw`,
so that what is measured is the way and not the denoising. Beside it, in the same run: the same packed bytes, and the
frames as they are, through a bare socket with the same mutual TLS and a window of four; and the steps of the way alone.
Where the time goes is told in processor time, of this process and of the worker: other programs do not change it.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import typing

import numpy
import numpy.typing
import psutil

from udvd_core.axes import Axis
from udvd_core.engine import certificates
from udvd_core.engine.cluster import ClusterEngine
from udvd_core.engine.inline import InlineEngine
from udvd_core.engine.local import LocalEngine
from udvd_core.engine.packing import pack, unpack
from udvd_core.engine.protocol import Block, Engine, Failed, Finished, Resend
from udvd_core.settings import ScanSpec, Training

Array = numpy.typing.NDArray[numpy.float32]
Facts = dict[str, typing.Any]

FRAME = (512, 1028)
BATCH = 16
WINDOW = 4
PORT = 18786


def make_pool(count: int, mean: float) -> Array:
    """Frames of Poisson counts: a zero-loss line, falling losses, most counts in the middle rows."""
    rng = numpy.random.default_rng(20261124)
    energy, rows = numpy.arange(FRAME[1]), numpy.arange(FRAME[0])
    spectrum = 40 * numpy.exp(-(((energy - 60) / 6) ** 2)) + 1 / (1 + energy / 100) ** 2
    shape = numpy.exp(-(((rows - 256) / 90) ** 2))[:, None] * spectrum
    return rng.poisson(shape * (mean / shape.mean()), (count, *FRAME)).astype(numpy.float32)


def spec_of(name: str, size: tuple[int, int]) -> ScanSpec:
    """A scan of whole frames whose sums over q come back."""
    training = Training(model="raw", device="cpu", budget_s=600.0)
    return ScanSpec(name, size, FRAME, Axis(FRAME[1], 0.0, 0.5, "eV", "E"), training=training)


def through_engine(engine: Engine, spec: ScanSpec, pool: Array) -> Facts:
    """Push a whole scan as fast as it goes; seconds until all was taken, and until it was finished."""
    engine.open(spec)
    begin, at, pushing = time.perf_counter(), 0, 0.0
    taken = 0.0
    finished = None
    while finished is None:
        before_at = at
        if at < spec.count:
            first = at % len(pool)
            before = time.perf_counter()
            if engine.push(spec.scan_id, at, pool[first : first + BATCH]):
                at += BATCH
                pushing += time.perf_counter() - before
            if at >= spec.count:
                taken = time.perf_counter() - begin
                engine.finish(spec.scan_id)
        events = engine.poll()
        for event in events:
            if isinstance(event, Failed | Resend):
                raise SystemExit(f"{spec.scan_id}: {event}")
            if isinstance(event, Finished):
                finished = event
        if not events and at == before_at:
            time.sleep(0.002)
    seconds = time.perf_counter() - begin
    return {
        "frames": spec.count,
        "frames_per_s": round(spec.count / seconds, 1),
        "all_pushed_s": round(taken, 2),
        "finished_s": round(seconds, 2),
        "in_push_s": round(pushing, 2),
    }


def latency(engine: Engine, name: str, pool: Array, pace: float, count: int) -> Facts:
    """Time from a push of one frame to its first block, one frame every `pace` seconds, ms."""
    spec = spec_of(name, (1, count))
    engine.open(spec)
    pushed, waited = numpy.zeros(count), numpy.full(count, numpy.nan)
    begin, at = time.perf_counter(), 0
    while numpy.isnan(waited).any():
        if at < count and time.perf_counter() >= begin + at * pace:
            pushed[at] = time.perf_counter()
            at += engine.push(spec.scan_id, at, pool[at % len(pool)][None])
        for event in engine.poll():
            if isinstance(event, Block):
                new = numpy.arange(event.start, event.start + len(event.data))
                new = new[numpy.isnan(waited[new])]
                waited[new] = time.perf_counter() - pushed[new]
        time.sleep(0.001)
    engine.abort(spec.scan_id)
    waited = 1000 * waited[5:]
    return {"p50_ms": round(float(numpy.median(waited)), 1), "p95_ms": round(float(numpy.percentile(waited, 95)), 1)}


def steps(pool: Array) -> tuple[Facts, list[bytes]]:
    """Each step of the way alone, ms of processor time for a frame; and the packed batches."""
    batches = [pool[at : at + BATCH] for at in range(0, len(pool), BATCH)]
    begin = time.process_time()
    packed = [pack(0, batch) for batch in batches]
    packing = time.process_time() - begin
    begin = time.process_time()
    for each in packed:
        unpack(each)
    unpacking = time.process_time() - begin
    engine = InlineEngine()
    begin = time.process_time()
    through_engine(engine, spec_of("inline", (1, len(pool))), pool)
    arithmetic = time.process_time() - begin
    engine.close()
    size = sum(len(each.data) for each in packed)
    facts = {
        "pack_ms": round(1000 * packing / len(pool), 3),
        "unpack_ms": round(1000 * unpacking / len(pool), 3),
        "session_ms": round(1000 * arithmetic / len(pool), 3),
        "bytes_per_frame": size // len(pool),
        "ratio_to_uint16": round(2 * pool.size / size, 1),
    }
    return facts, [each.data for each in packed]


def bare_socket(gpu: pathlib.Path, swift: pathlib.Path, messages: list[bytes], frames: int) -> tuple[float, float]:
    """Messages of `BATCH` frames through mutual TLS 1.3, each answered, `WINDOW` on their way.

    Returns
    -------
    per_s, cpu_ms : float
        Frames a second; and processor time of both ends for a frame.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    for context, folder in ((server, gpu), (client, swift)):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "ca.pem")
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server.wrap_socket(listener.accept()[0], server_side=True) as secure:
            stream = secure.makefile("rb")
            while head := stream.read(8):
                stream.read(struct.unpack("<Q", head)[0])
                secure.sendall(bytes(64))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    secure = client.wrap_socket(socket.create_connection(listener.getsockname()))
    with secure, secure.makefile("rb") as answers:
        count = frames // BATCH
        begin, used = time.perf_counter(), time.process_time()
        for number in range(count):
            message = messages[number % len(messages)]
            secure.sendall(struct.pack("<Q", len(message)) + message)
            if number >= WINDOW:
                answers.read(64)
        answers.read(64 * min(WINDOW, count))
        seconds, used = time.perf_counter() - begin, time.process_time() - used
    thread.join()
    listener.close()
    return count * BATCH / seconds, 1000 * used / (count * BATCH)


def processor_s(machine: subprocess.Popen[bytes]) -> float:
    """Processor time of this process and of all those of the GPU machine, s."""
    times = [each.cpu_times() for each in psutil.Process(machine.pid).children(recursive=True)]
    return time.process_time() + sum(each.user + each.system for each in times)


def measure(options: argparse.Namespace, folder: pathlib.Path) -> Facts:
    """Everything, against a GPU machine started for it."""
    gpu, swift = certificates.make(folder / "certs", ["127.0.0.1", "swift"])
    command = [sys.executable, "-m", "udvd_core", "serve", "--host", "127.0.0.1", "--port", str(PORT)]
    command += ["--certs", str(gpu), "--workers", "1", "--allow-root"]
    log = folder / "serve.log"
    with log.open("wb") as file:
        machine = subprocess.Popen(command, stderr=file, stdout=file)
    try:
        while "ready:" not in log.read_text():
            if machine.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        pool = make_pool(64, options.mean)
        alone, messages = steps(pool)
        result: Facts = {"mean_counts": options.mean, "largest_count": int(pool.max()), "steps_alone": alone}
        engine = ClusterEngine(f"tls://127.0.0.1:{PORT}", swift)
        through_engine(engine, spec_of("first", (1, 32)), pool)
        for size in options.sizes:
            count = size * size
            plain, _ = bare_socket(gpu, swift, [pool[:BATCH].astype(numpy.uint16).tobytes()], min(count, 1024))
            packed, transport = bare_socket(gpu, swift, messages, max(count, 4096))
            used = processor_s(machine)
            facts = through_engine(engine, spec_of(f"scan {size}", (size, size)), pool)
            total = 1000 * (processor_s(machine) - used) / count
            shares = {
                "compression": alone["pack_ms"] / total,
                "decompression": alone["unpack_ms"] / total,
                "arithmetic": alone["session_ms"] / total,
                "bare transport": transport / total,
            }
            facts["processor_ms_per_frame"] = round(total, 3)
            facts["steps_as_share_of_processor_time"] = {name: round(share, 3) for name, share in shares.items()}
            facts |= {"bare_socket_packed_per_s": round(packed, 1), "bare_socket_uint16_per_s": round(plain, 1)}
            result[f"{size} x {size}"] = facts
        result["latency_cluster"] = latency(engine, "paced", pool, options.pace, options.paced)
        engine.close()
        local = LocalEngine()
        through_engine(local, spec_of("first", (1, 32)), pool)
        result["latency_local"] = latency(local, "paced", pool, options.pace, options.paced)
        local.close()
        added = {name: result["latency_cluster"][name] - result["latency_local"][name] for name in ("p50_ms", "p95_ms")}
        return result | {"latency_added": {name: round(value, 1) for name, value in added.items()}}
    finally:
        machine.send_signal(signal.SIGTERM)
        machine.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[32, 128], help="positions along each side of the scans"
    )
    parser.add_argument("--mean", type=float, default=0.03, help="counts per pixel")
    parser.add_argument("--pace", type=float, default=0.05, help="seconds between frames, for latency")
    parser.add_argument("--paced", type=int, default=200, help="frames at that pace")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, pathlib.Path(folder))
    print(json.dumps({"cores": os.cpu_count(), **result}))


if __name__ == "__main__":
    main()
