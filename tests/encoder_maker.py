"""Settings of a tiny encoder."""

import numpy as np
import tensorflow as tf

TINY = {
    "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 4, 3],
    "conv_stride": [5, 4, 2],
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "layerdrop": 0.0,
    "initializer_range": 0.2,
}


TINY_WHISPER = {
    "model_type": "whisper",
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "num_mel_bins": 80,
    "max_source_positions": 20,
    "init_std": 0.2,
}

QUIET = {
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "apply_spec_augment": False,
}


def numpy(x) -> np.ndarray:
    return tf.convert_to_tensor(x).numpy()
