"""Jobs: many prompts in, one row of output each, in the input's order, and nothing lost whatever happens.

As in::

    import mdm_sampling as mdm
    from mdm_sampling.jobs import Job, read_rows

    job = Job(mdm.load(steps=20), read_rows("prompts.jsonl"), "answers.jsonl")
    print(job.run())
"""

from .batches import Batch as Batch
from .engine import Engine as Engine
from .engine import LocalEngine as LocalEngine
from .inputs import InputRow as InputRow
from .inputs import read_rows as read_rows
from .job import Job as Job
from .job import JobOutcome as JobOutcome
from .ray_engine import RayEngine as RayEngine
from .worker import Worker as Worker
