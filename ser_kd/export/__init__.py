"""A run's student -> .tflite files, each compared with the Keras model.

run.py          the export of a run: what is converted, compared and written, in order
convert.py      Keras -> SavedModel -> .tflite
waveform.py     the file for apps: front end, int8 student and softmax in one
chain.py        joins .tflite models; model_file.py makes them smaller
frontend.py     the log-mel front end as matrix products; known_voice.py what known voices need
windows.py      the windows that files are quantised with and compared on
reference.py    the Keras model's answers; verify.py compares with them; limits.py judges that
temperature.py  temperature scaling
dimensional.py  students with continuous targets
package.py      README, model card, checksums; table.py and plot.py show the figures
"""
