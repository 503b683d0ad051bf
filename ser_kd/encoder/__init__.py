"""Pretrained speech encoders (Wav2Vec2, HuBERT, WavLM, Whisper) in Keras 3, with published weights.

architecture.py     the variants, as transformers' config classes
layers.py           the building blocks; model.py puts them together, whisper.py for Whisper
checkpoint.py       name or folder -> encoder with its weights
weights.py          tensor names -> the encoder's weights
checkpoint_files.py folder -> tensors; torch_file.py reads pytorch_model.bin without torch,
                    safetensors_file.py the rest; hub.py downloads
inspect.py          ser-kd teacher inspect
"""
