"""Critics by name. A kind is what the networks' outputs mean and the loss that fits them; a new one is one new file and
one line in `config.named.CRITICS`."""

from sacbrax.agents.critics.base import REDUCTIONS, Critics, Returns, members_of
from sacbrax.config import Config
from sacbrax.config.named import CRITICS, imported


def make_critics(config: Config, num_critics: int | None = None) -> Critics:
    """The critics that `critic.kind` names, `algorithm.num_critics` of them where no number is given."""
    critics: Critics = imported(CRITICS[config.critic.kind])(config, num_critics or config.algorithm.num_critics)
    return critics


__all__ = ["REDUCTIONS", "Critics", "Returns", "make_critics", "members_of"]
