from .activations import (
    ActivationStore as ActivationStore,
    Harvest as Harvest,
    StoredStream as StoredStream,
    TextSource as TextSource,
    TokenPolicy as TokenPolicy,
    harvest as harvest,
)
from .codes import (
    METHODS as METHODS,
    Coder as Coder,
)
from .evaluation import (
    amortisation_gap as amortisation_gap,
    evaluation_rows as evaluation_rows,
    measure_losses as measure_losses,
    reconstruction as reconstruction,
    support_recovery as support_recovery,
)
from .interop import (
    export_dictionary_learning as export_dictionary_learning,
    export_native as export_native,
    export_saelens as export_saelens,
    export_sparsify as export_sparsify,
    import_dictionary_learning as import_dictionary_learning,
    import_saelens as import_saelens,
    import_sparsify as import_sparsify,
    load_any as load_any,
)
from .models import (
    LanguageModel as LanguageModel,
    fetch as fetch,
    load_language_model as load_language_model,
    sample_text as sample_text,
)
from .pursuits import (
    TensorDictionary as TensorDictionary,
    torch_omp as torch_omp,
)
from .sae import (
    BlockSAE as BlockSAE,
    ExpanderSAE as ExpanderSAE,
    SparseAutoencoder as SparseAutoencoder,
    TopKSAE as TopKSAE,
    coordinate_null as coordinate_null,
    load_sae as load_sae,
    mean_null as mean_null,
    principal_null as principal_null,
    pruned as pruned,
    storage as storage,
    untrained_null as untrained_null,
)
from .training import (
    Finetuning as Finetuning,
    Training as Training,
    finetune as finetune,
    train as train,
)
