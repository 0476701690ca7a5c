"""Layers: frozen dataclasses of shapes and hyper-parameters with a forward and a backward pass, and no arrays in them.

``_contract`` says what a layer is; each other file here is one family.
"""

from ._activate import Activate as Activate
from ._activate import Softmax as Softmax
from ._activate import activate as activate
from ._activate import activation_gradient as activation_gradient
from ._contract import Buffer as Buffer
from ._contract import Layer as Layer
from ._contract import Parameter as Parameter
from ._contract import Residual as Residual
from ._dense import Dense as Dense
from ._dense import affine as affine
from ._dense import bias_gradient as bias_gradient
from ._dense import input_gradient as input_gradient
from ._dense import weight_gradient as weight_gradient
from ._dropout import Dropout as Dropout
from ._dropout import RandomizedLeakyReLU as RandomizedLeakyReLU
from ._dropout import dropout_mask as dropout_mask
from ._normalize import BatchNorm as BatchNorm
from ._normalize import LayerNorm as LayerNorm
