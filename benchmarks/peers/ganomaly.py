"""GANomaly with anomalib's weights, which stand in the same order in the same layers."""

from functools import partial

import torch
from anomalib.models.image.ganomaly.loss import DiscriminatorLoss, GeneratorLoss
from anomalib.models.image.ganomaly.torch_model import GanomalyModel

from aeflow_utils.data.features import Batch
from aeflow_utils.models.dcgan import shrink
from aeflow_utils.models.ganomaly import GANomaly
from aeflow_utils.options import GANomalyConfig
from aeflow_utils.study.training import seed_everything
from benchmarks.peers.comparison import ANOMALIB, SIZE, Row, compare, copy_weights, images_of, shake


@torch.no_grad()
def check_ganomaly() -> list[Row]:
    """Both as in evaluation, after one training pass has moved the batch statistics."""
    seed_everything(0)
    config = GANomalyConfig(image_size=SIZE)
    peer = GanomalyModel((SIZE, SIZE), 3, config.n_features, latent_vec_size=100)
    batch = Batch(images_of(8), {})
    x = shrink(batch.image, SIZE)
    shake(peer)
    peer.discriminator(peer.train()(x)[1])
    peer.eval()
    ours = GANomaly(config, {}, SIZE).eval()
    copy_weights(peer.generator.encoder1, ours.encoder)
    copy_weights(peer.generator.decoder, ours.decoder)
    copy_weights(peer.generator.encoder2, ours.second_encoder)
    copy_weights(peer.discriminator, ours.discriminator)

    reconstruction, z, z_again = ours(x)
    peer_reconstruction, peer_z, peer_z_again = peer.generator(x)
    real, real_features = peer.discriminator(x)
    fake, _ = peer.discriminator(peer_reconstruction)
    losses, peer_loss = ours.loss(batch), GeneratorLoss()

    row = partial(compare, "GANomaly", ANOMALIB)
    weighted = (
        peer_loss.wadv * losses["adversarial"]
        + peer_loss.wcon * peer_loss.loss_con(x, peer_reconstruction)
        + peer_loss.wenc * losses["latent"]
    )
    latent = "ours is the paper's squared error, anomalib's a smooth L1"
    matched = "ours matches the discriminator's features, as in the paper, anomalib its verdicts"
    return [
        row("latents", z, peer_z.flatten(1)),
        row("reconstructions", reconstruction, peer_reconstruction),
        row("latents of reconstructions", z_again, peer_z_again.flatten(1)),
        row("discriminator's features", ours.discriminator[:-1](x), real_features),
        row("discriminator's verdicts", ours.discriminator(x).sigmoid().flatten(), real),
        row("image score", ours.score(batch).image_score, peer(x).pred_score),
        row("discriminator's loss", losses["discriminator"], DiscriminatorLoss()(real, fake)),
        row("generator's loss, with our latent and adversarial terms", losses["total"], weighted),
        row("latent term", losses["latent"], peer_loss.loss_enc(peer_z, peer_z_again), latent),
        row("adversarial term", losses["adversarial"], peer_loss.loss_adv(real, fake), matched),
    ]
