"""What the tasks share in which each image is a class of its own."""

from tf_simclr.objectives.pretext import Pretext


class NumberedImages(Pretext):
    """A task that has to know which of all images it gets; --seed_images makes them fewer."""

    needs_index = True

    @classmethod
    def select_images(cls, settings, source):
        count = settings.pretext.seed_images
        return source.in_memory(count, settings.train.seed) if count else source
