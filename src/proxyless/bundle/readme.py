"""Holds the page of instructions that lies in every bundle."""

README = """\
# Networks to be timed

`operators/` holds the candidate operations of a search space, each distinct one once, and `networks/` a sample of its
whole networks. Their times on a device make the space's latency table for that device. `manifest.json` says what each
file is.

Copy this folder to the device as a whole, and let nothing else run there meanwhile.

## With Python

Python 3.10 or later and ONNX Runtime are needed (`pip install onnxruntime` brings numpy along), nothing else:

```sh
python run.pyz --threads 1 --out results.json
```

It takes one or two minutes, or longer where networks are slow. Every round is kept in `results.rounds.jsonl`: after a
stop, or a kill, the same command goes on from there, and once it has finished, it makes the intervals narrower that are
still wide. `--name` is what the device will be called; `python run.pyz --help` lists the rest. All models are in memory
at once: where that is too much, write the bundle with a smaller `--measure-networks`.

`--providers xnnpack cpu` chooses among the execution providers that your ONNX Runtime was built with (`xnnpack`,
`nnapi`, `cuda`, `openvino`...), the first first. Times include copies to and from an accelerator.

Bring `results.json` back:

```sh
proxyless measure --from results.json --out table.json
```

## Without Python

Any program that times models will do. Write one line for each file, `file,ms`, to a CSV file that is named after the
device, such as `pixel8.csv`. Several lines for one file count as their median. All files are needed, but for what the
next section says.

```sh
proxyless measure --from pixel8.csv --bundle THIS_FOLDER --out table.json
```

With `onnxruntime_perf_test`, which is built with ONNX Runtime, also for Android (there, push it and this folder to
`/data/local/tmp` and run this in `adb shell`):

```sh
echo file,ms > pixel8.csv
for round in 1 2 3; do
  for model in operators/*.onnx networks/*.onnx; do
    ms=$(onnxruntime_perf_test -I -e cpu -x 1 -m times -r 100 "$model" | awk '/^P50 Latency/ {print $3 * 1000}')
    echo "$model,$ms" >> pixel8.csv
  done
done
```

With TensorFlow Lite's `benchmark_model`, for a bundle that was written with `--tflite`, or models that you have
converted and laid beside the ONNX files under the same names (`operators/NAME.tflite`):

```sh
adb push benchmark_model /data/local/tmp/
adb push . /data/local/tmp/bundle
adb shell chmod +x /data/local/tmp/benchmark_model
echo file,ms > pixel8.csv
for round in 1 2 3; do
  for model in operators/*.tflite networks/*.tflite; do
    us=$(adb shell -n /data/local/tmp/benchmark_model --graph=/data/local/tmp/bundle/$model \\
      --num_threads=1 --warmup_runs=10 --num_runs=100 2>&1 | sed -n 's/.*Inference (avg): *\\([0-9.e+]*\\).*/\\1/p')
    echo "$model,$(awk "BEGIN {print $us / 1000}")" >> pixel8.csv
  done
done
```

The loop over rounds is outside, so that a slow spell of the device falls on all models alike.

## With a few networks alone

Where tables of the same space on other devices are at hand, ten to fifty of the whole networks are enough:
`python run.pyz --networks-only`, or a CSV file of `networks/` alone, and

```sh
proxyless measure --from results.json --adapt cpu.json pixel1.json --out table.json
```
"""
