"""Runs the original spectrum.py over a model folder as its own command line does, without its dialogs.

python original.py path/to/spectrum.py path/to/model      (needs torch, transformers, prompt_toolkit, tqdm)

Everything is the original's code: loading, scanning every weight type, writing its three files to the current folder.
What the process took goes to $COST_FILE.
"""
import importlib.util
import os
import sys

from process_cost import write_process_cost

spec = importlib.util.spec_from_file_location("spectrum", sys.argv[1])
spectrum = importlib.util.module_from_spec(spec)
spec.loader.exec_module(spectrum)

modifier = spectrum.ModelModifier(model_name=sys.argv[2], batch_size=1, top_percent=25)
# The slug of a path would leave the results folder.
modifier.model_name = os.path.basename(os.path.normpath(sys.argv[2]))
types = modifier.sort_weight_types(modifier.get_weight_types())
modifier.assess_layers_snr(types)
modifier.save_snr_to_json()

write_process_cost()
