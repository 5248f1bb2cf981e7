"""A speech recogniser of a few nodes: it hears in each frame what a table says, whatever is spoken."""

import numpy as np

FRAME = 4  # of 10 ms each, for which the encoder gives one output


def write_transducer(onnx, folder, tokens, logits):
    """Writes encoder.onnx, decoder.onnx, joiner.onnx and tokens.txt, as sherpa-onnx reads transducers of LSTMs.

    The encoder's state counts the frames. The decoder adds nothing, so the logits do not depend on what was heard.

    Args:
        onnx: the package.
        folder: where to.
        tokens: list of V names; the first is the blank.
        logits: float [F, V], of the frames; the last one goes on.
    """
    make, float32, int64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    node, info = make.make_node, make.make_tensor_value_info
    size = len(tokens)

    def save(name, nodes, inputs, outputs, constants, metadata):
        arrays = [onnx.numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
        graph = make.make_graph(nodes, name, inputs, outputs, arrays)
        model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
        make.set_model_props(model, {key: str(value) for key, value in metadata.items()})
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / f"{name}.onnx")

    save(
        "encoder",
        [
            node("Squeeze", ["h", "axes"], ["place"]),
            node("Min", ["place", "last"], ["clipped"]),
            node("Cast", ["clipped"], ["index"], to=int64),
            node("Gather", ["table", "index"], ["row"], axis=0),
            node("Unsqueeze", ["row", "first_axis"], ["encoder_out"]),
            node("Add", ["h", "step"], ["next_h"]),
            node("Identity", ["c"], ["next_c"]),
        ],
        [info("x", float32, ["N", FRAME, 80]), info("h", float32, [1, "N", 1]), info("c", float32, [1, "N", 1])],
        [
            info("encoder_out", float32, ["N", 1, size]),
            info("next_h", float32, [1, "N", 1]),
            info("next_c", float32, [1, "N", 1]),
        ],
        {
            "table": np.asarray(logits, "float32"),
            "axes": np.array([0, 2]),
            "first_axis": np.array([1]),
            "last": np.float32(len(logits) - 1),
            "step": np.float32(1),
        },
        {
            "model_type": "lstm",
            "num_encoder_layers": 1,
            "T": FRAME,
            "decode_chunk_len": FRAME,
            "rnn_hidden_size": 1,
            "d_model": 1,
        },
    )
    save(
        "decoder",
        [
            node("ReduceSum", ["y", "first_axis"], ["sum"], keepdims=1),
            node("Cast", ["sum"], ["number"], to=float32),
            node("Mul", ["number", "zeros"], ["decoder_out"]),
        ],
        [info("y", int64, ["N", 2])],
        [info("decoder_out", float32, ["N", size])],
        {"first_axis": np.array([1]), "zeros": np.zeros((1, size), "float32")},
        {"vocab_size": size, "context_size": 2},
    )
    save(
        "joiner",
        [node("Add", ["encoder_out", "decoder_out"], ["logit"])],
        [info("encoder_out", float32, ["N", size]), info("decoder_out", float32, ["N", size])],
        [info("logit", float32, ["N", size])],
        {},
        {"joiner_dim": size},
    )
    lines = "".join(f"{token} {index}\n" for index, token in enumerate(tokens))
    (folder / "tokens.txt").write_text(lines, encoding="utf-8")
