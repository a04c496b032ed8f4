"""Power and energy of the devices that training runs on.

    with open_meter(machine, torch_device="cuda:0") as meter:
        with meter.window():        # a steady stretch of training
            ...
        meter.readings()            # mean power per device, each with its range and its source

Sources, best first: the board's energy counter, its power samples, the CPU's RAPL counters, and if none can be read a
model (TDP times utilisation). Unknown figures are left out, and ``caveats()`` says why.
"""

from greenlove_mlflow.power.meter import PowerMeter, open_meter

__all__ = ["PowerMeter", "open_meter"]
