"""From a volume to what the networks see: masks, boxes, the column, the vertebra stacks."""
