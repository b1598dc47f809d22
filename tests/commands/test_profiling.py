TINY = "fit --config shapes.yaml --data.train_size 100 --data.val_size 50 --trainer.max_epochs 1"


def test_the_trainers_own_profiler_can_be_asked_for(cli):
    result = cli(f"{TINY} --trainer.profiler simple")
    assert result.code == 0, result.err
    assert "Profiler Report" in result.out + result.err
    assert "run_training_batch" in result.out + result.err
    assert "Profiler Report" not in cli(TINY).out
