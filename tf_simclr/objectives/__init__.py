"""What can be trained. A new pretext task is one file and one line here."""

from tf_simclr.objectives.contrastive import Contrastive
from tf_simclr.objectives.distill import Distill
from tf_simclr.objectives.supervised import Supervised

OBJECTIVES = {"pretrain": Contrastive, "finetune": Supervised, "supervised": Supervised, "distill": Distill}  # by --train_mode
