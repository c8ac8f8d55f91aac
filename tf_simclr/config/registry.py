"""The pretext tasks of --pretext by name, and where the class of each is. No TensorFlow here, since --help names them.

A new one is a file with a subclass of `objectives.pretext.Pretext` and a line here.
"""

PRETEXTS = {
    "simclr": "tf_simclr.objectives.simclr.Contrastive",
    "exemplar": "tf_simclr.objectives.exemplar.Exemplar",
    "context_prediction": "tf_simclr.objectives.context_prediction.ContextPrediction",
    "jigsaw": "tf_simclr.objectives.jigsaw.Jigsaw",
    "colorization": "tf_simclr.objectives.colorization.Colorization",
    "context_encoder": "tf_simclr.objectives.context_encoder.ContextEncoder",
    "counting": "tf_simclr.objectives.counting.Counting",
    "rotation": "tf_simclr.objectives.rotation.Rotation",
}
