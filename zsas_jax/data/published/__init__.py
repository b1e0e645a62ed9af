"""Descriptions of the published data sets: where photos and masks lie, and how many there are."""

from zsas_jax.data.description import Dataset
from zsas_jax.data.published.dagm import DAGM2007
from zsas_jax.data.published.kolektor import KSDD1, KSDD2
from zsas_jax.data.published.mtd import MTD
from zsas_jax.data.published.mvtec import BTAD, DTD_SYNTHETIC, MAD_REAL, MAD_SIM, MPDD, MVTEC
from zsas_jax.data.published.real_iad import REAL_IAD, REAL_IAD_SV
from zsas_jax.data.published.visa import VISA

PUBLISHED: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        MVTEC,
        VISA,
        MTD,
        KSDD2,
        KSDD1,
        MPDD,
        BTAD,
        DAGM2007,
        DTD_SYNTHETIC,
        REAL_IAD,
        REAL_IAD_SV,
        MAD_SIM,
        MAD_REAL,
    )
}
