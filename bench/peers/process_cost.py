"""What this process took so far, as process-cost.mjs states it of ours: in the file $COST_FILE."""
import json
import os
import resource


def write_process_cost():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cost = {"peakKiB": usage.ru_maxrss, "cpuSeconds": usage.ru_utime + usage.ru_stime}
    with open(os.environ["COST_FILE"], "w") as file:
        json.dump(cost, file)
