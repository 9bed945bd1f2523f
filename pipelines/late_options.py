"""Options that came after people had trained for days: switched off, they leave a stage's hash as it was."""

from pipelines import build

# Option -> off. None: off is their constructor's default.
YOUNG = dict.fromkeys(
    ("upsample", "channels", "num_blocks", "depth", "legacy_decay", "ema", "precision", "last_stride")
) | {
    "losses": "L_CD",
    "sampling": "random",
    "soft_margin": False,
    "label_smoothing": 0.0,
    "bn_neck": False,
    "random_erasing": 0.0,
    "identity_terms": True,
    "private": True,
    "freeze_shared": False,
    "encoder": "layer4",
    "map_size": [8, 4],
    "fcn_width": None,
    "decoder": "feature",
    "weight_mmd": 0.0,
}


def without_off(block):
    """A block of settings without the YOUNG options that are off; what is built from it takes the same values."""
    if not isinstance(block, dict) or "_target_" not in block:
        return block
    defaults = build.defaults(build.resolve(block["_target_"]))
    off = {k: defaults.get(k) if YOUNG[k] is None else YOUNG[k] for k in block if k in YOUNG}
    off = {
        k: value for k, value in off.items() if _plain(defaults.get(k, value)) == _plain(value)
    }  # built as it is hashed
    return {k: v for k, v in block.items() if k not in off or v != off[k]}


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
