from bench_figures import by_name

from freshrank.benchmarks.quality import jd


def test_jd_asks_that_live_is_ahead_of_the_frozen_copy_and_of_the_base_rate() -> None:
    learned = {
        "auc_live": 0.64, "auc_frozen": 0.61, "log_loss_live": 0.167, "log_loss_frozen": 0.169,
    }  # fmt: skip
    good = by_name(jd.figures(learned, {"log_loss_base_rate": 0.173, "auc_last_kind": 0.56}))
    assert good["auc_live"].met
    assert good["log_loss_live"].met
    assert good["log_loss_live"].reach == 0.169
    bad = by_name(jd.figures(learned, {"log_loss_base_rate": 0.160}))
    assert bad["log_loss_live"].met is False
