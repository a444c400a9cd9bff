"""Pure functions that compute counts from activations, and distances from counts or moments."""

from torchmetrics_dna.binning import activation_histogram
from torchmetrics_dna.functional.emd import dna_emd
from torchmetrics_dna.functional.features import cmmd, mind, prdc
from torchmetrics_dna.functional.flagging import Outlier, outliers_by_properties
from torchmetrics_dna.functional.frechet import dna_frechet
from torchmetrics_dna.functional.improvement import Improvement, last_improvement
from torchmetrics_dna.functional.layer_frechet import layer_frechet_distance
from torchmetrics_dna.functional.layer_frechet_estimate import FrechetEstimate, layer_frechet_estimate
from torchmetrics_dna.functional.outliers import OutlierTest, outlier_test, score_limit
from torchmetrics_dna.functional.realism import dna_realism, dna_realism_map, heat
from torchmetrics_dna.functional.sensitivity import learn_neuron_weights, select_neurons, sensitivity_deviation

__all__ = [
    "FrechetEstimate",
    "Improvement",
    "Outlier",
    "OutlierTest",
    "activation_histogram",
    "cmmd",
    "dna_emd",
    "dna_frechet",
    "dna_realism",
    "dna_realism_map",
    "heat",
    "last_improvement",
    "layer_frechet_distance",
    "layer_frechet_estimate",
    "learn_neuron_weights",
    "mind",
    "outlier_test",
    "outliers_by_properties",
    "prdc",
    "score_limit",
    "select_neurons",
    "sensitivity_deviation",
]
