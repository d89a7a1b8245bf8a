"""The table of scalars, read by the build as well: it imports nothing."""

SCALARS = (
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
)
