"""An example of each command, which its --help ends with and a test parses."""

EXAMPLES = {
    "run": "forgetfilter run mine.yaml train.noisy.lr=1e-4",
    "mix": "forgetfilter mix mine.yaml",
    "train": "forgetfilter train mine.yaml noisy safe",
    "score": "forgetfilter score mine.yaml score.base=true",
    "filter": "forgetfilter filter runs/mine filter.max_false_drop=0.05",
    "eval": "forgetfilter eval runs/mine --compare noisy refit",
    "report": "forgetfilter report runs/mine",
    "compare": "forgetfilter compare mine.yaml --list",
    "scale": "forgetfilter scale mine.yaml --list",
    "config": "forgetfilter config mine.yaml",
    "verify": "forgetfilter verify runs/mine",
    "doctor": "forgetfilter doctor --json",
    "init": "forgetfilter init theirs.jsonl --safe ours.jsonl --model meta-llama/Llama-2-7b-hf",
    "example": "forgetfilter example quickstart",
    "slurm": "forgetfilter slurm",
    "export": "forgetfilter export runs/mine --merge --out mine-merged",
    "chat": "forgetfilter chat runs/mine --prompt 'How do I reset a password?'",
    "plan": "forgetfilter plan mine.yaml",
    "completion": "forgetfilter completion bash",
}
