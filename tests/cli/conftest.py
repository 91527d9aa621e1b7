from tests.students import (  # noqa: F401
    interpreted_mlx,
    pocket_train,
    recipe,
    tiny,
    tiny_tokenizer,
    traces,
)
