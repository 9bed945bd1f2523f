"""Losses that learn the source's identities; one file each, under one contract.

    loss(features (B, D), labels (B,)) -> scalar       its class weights `weight` (C, D) are its own parameters

Made by `Loss(num_features, num_persons, label_smoothing=0.0, **its options)`. It says of itself:
    feature     "hidden": the embedding after ReLU and dropout, as plain softmax's; "embedding": before both, since angles to
                class weights are those of the whole space, not of the part that ReLU leaves
    gathered    whether it is no mean over samples, so that a method must give it the rows of all ranks

Terms that are added to one (centre, contrastive, triplet) are made by `Term(num_features, num_persons, **its options)` and have
    weight              their factor in the total
    images_per_person   how many images of a person their batch must hold; None: any batch will do
They always take the embedding before ReLU and dropout, of all ranks.

What a loss keeps beside its parameters (moving averages, memories, centres) are buffers, changed in training mode only. Losses
compute in at least float32 under autocast, and in float64 for float64.
"""
